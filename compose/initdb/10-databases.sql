-- A database, a role and a password for each service and for the schema registry. Run once, when the data volume is new.
-- psql reads the passwords from the container's environment: they are in no file and in no process's arguments.

\getenv checkout_password CHECKOUT_DB_PASSWORD
\getenv payment_password PAYMENT_DB_PASSWORD
\getenv warehouse_password WAREHOUSE_DB_PASSWORD
\getenv registry_password REGISTRY_DB_PASSWORD

-- a failing statement would be logged as it is, password included
SET log_min_error_statement = 'panic';

CREATE ROLE checkout LOGIN PASSWORD :'checkout_password';
CREATE ROLE payment LOGIN PASSWORD :'payment_password';
CREATE ROLE warehouse LOGIN PASSWORD :'warehouse_password';
CREATE ROLE registry LOGIN PASSWORD :'registry_password';

CREATE DATABASE checkout OWNER checkout;
CREATE DATABASE payment OWNER payment;
CREATE DATABASE warehouse OWNER warehouse;
CREATE DATABASE registry OWNER registry;

-- a role can open its own database only
REVOKE CONNECT, TEMPORARY ON DATABASE checkout, payment, warehouse, registry, postgres, template1 FROM PUBLIC;

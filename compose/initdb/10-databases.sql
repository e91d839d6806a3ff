-- For each service a database, the role that owns it, and the service's own, which makes no tables; for the schema registry
-- a database and a role. Run once, when the data volume is new.
-- psql reads the passwords from the container's environment: they are in no file and in no process's arguments.

\getenv checkout_password CHECKOUT_DB_PASSWORD
\getenv payment_password PAYMENT_DB_PASSWORD
\getenv warehouse_password WAREHOUSE_DB_PASSWORD
\getenv checkout_owner_password CHECKOUT_OWNER_DB_PASSWORD
\getenv payment_owner_password PAYMENT_OWNER_DB_PASSWORD
\getenv warehouse_owner_password WAREHOUSE_OWNER_DB_PASSWORD
\getenv registry_password REGISTRY_DB_PASSWORD

-- a failing statement would be logged as it is, password included
SET log_min_error_statement = 'panic';

CREATE ROLE checkout LOGIN PASSWORD :'checkout_password';
CREATE ROLE payment LOGIN PASSWORD :'payment_password';
CREATE ROLE warehouse LOGIN PASSWORD :'warehouse_password';
CREATE ROLE checkout_owner LOGIN PASSWORD :'checkout_owner_password';
CREATE ROLE payment_owner LOGIN PASSWORD :'payment_owner_password';
CREATE ROLE warehouse_owner LOGIN PASSWORD :'warehouse_owner_password';
CREATE ROLE registry LOGIN PASSWORD :'registry_password';

CREATE DATABASE checkout OWNER checkout_owner;
CREATE DATABASE payment OWNER payment_owner;
CREATE DATABASE warehouse OWNER warehouse_owner;
CREATE DATABASE registry OWNER registry;

-- a role can open its own database only
REVOKE CONNECT, TEMPORARY ON DATABASE checkout, payment, warehouse, registry, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE checkout TO checkout;
GRANT CONNECT ON DATABASE payment TO payment;
GRANT CONNECT ON DATABASE warehouse TO warehouse;

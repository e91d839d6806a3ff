"""What is needed to tell messages apart, letters from forged ones, and messages that end a process."""

from alembic import op

from outbox.ddl import INBOX_V2
from services.checkout.tables import CHECKOUTS_V6
from services.shell.fatal_messages import FATAL_V1
from services.shell.retries_ddl import RETRIES_V2

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add it."""
    for statement in (*CHECKOUTS_V6, *INBOX_V2, *RETRIES_V2, *FATAL_V1):
        op.execute(statement)


def downgrade() -> None:
    """There is no way back, and no need for one: nothing that is kept has changed."""
    raise NotImplementedError("the tables of a payment system are changed forwards")

"""The first tables: warehouse's own, outbox, inbox, audit trail."""

from alembic import op

from outbox.ddl import INBOX_V1, OUTBOX_V1
from services.shell.trail import TRAIL_V1
from services.warehouse.tables import STOCK_V1

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    for statement in (*STOCK_V1, *OUTBOX_V1, *INBOX_V1, *TRAIL_V1):
        op.execute(statement)


def downgrade() -> None:
    """There is no way back from the first tables: they hold money."""
    raise NotImplementedError("dropping the tables of a payment system is done by hand")

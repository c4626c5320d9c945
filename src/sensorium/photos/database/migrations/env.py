"""Alembic's entry: run the steps on the connection, and in the transaction, that ``schema`` opened."""

from alembic import context

from sensorium.photos.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()

"""Settings: their types, and the schema that checks them and fills in defaults."""

-- GEMS' own tables and checkpoints: the LangGraph server has tables of the same names in its database.
-- Postgres runs this once, when its volume is new. Elsewhere: createdb gems.
CREATE DATABASE gems;

"""What a LangGraph server answers beside its own routes: images, runs, reports, and the page; and whom it answers."""

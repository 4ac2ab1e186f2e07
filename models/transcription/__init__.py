"""What writes speech down."""

"""What request bodies may say: one model of fields per operation, whatever dialect it arrives in."""

"""AuralNav: walk to sound sources by ear. World, Gymnasium face and pictures."""

"""What is studied: masks, penalties, pulls, and the places where decay acts."""

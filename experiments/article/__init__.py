"""What a popular article and a question say of weight decay, row by row, as experiments that end in a verdict."""

"""What training and tables do to pictures: holes, degradation and wear; and a detector of wear without a network."""

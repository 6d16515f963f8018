"""AQUA's own policies as a peer to compare with, from what its paper and documentation say of them.

Fixed slices of five iterations for whoever has been served least, static pairs of one lender and one borrower, all of
a lender's memory back at once, looked at every four seconds. Where the paper leaves something open, what is best for it
is taken: copies run at the links' full rate as one piece, gathering and scattering cost nothing, and a lender never
stops to resize its cache.
"""

"""What the two filter languages share, Falco's (sftools.filter) and SysFlow's (sftools.sfql): the syntax tree, the
parser, the shape of operators, numbers and addresses, and the error that shows the place.
"""

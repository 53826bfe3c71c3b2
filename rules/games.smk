# Games: members trained on coalitions of contributors, and what is measured of them.

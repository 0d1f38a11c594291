"""Pictures of scores, fields, maps and graphs are drawn here."""

"""The Model Context Protocol at `/mcp`: models, pipelines and the books of this cloud as tools of other programs."""

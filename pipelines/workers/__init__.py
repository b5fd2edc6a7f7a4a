"""The processes that train one network together: who they are, and what they tell each other."""

"""Skills: domain expertise in folders, listed by name and description, read whole only when chosen."""

from gems.skills.authoring import new_skill, validate_skill
from gems.skills.format import Problem
from gems.skills.library import BUILT_IN, FolderSkills

__all__ = ["BUILT_IN", "FolderSkills", "Problem", "new_skill", "validate_skill"]

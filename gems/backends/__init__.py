"""Who answers and who draws."""

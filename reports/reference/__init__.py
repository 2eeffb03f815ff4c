"""The RICE paper as data: every printed cell of Tables 1 to 5 (`paper`), what does not add up (`checks`), how to show it (`tables`)."""

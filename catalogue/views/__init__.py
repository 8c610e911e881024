"""The doors that are no API: pages for people, the document for editors, the hook's old address."""

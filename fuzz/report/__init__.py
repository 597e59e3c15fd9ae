"""What people read: traces, findings, summaries."""

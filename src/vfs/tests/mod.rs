//! What users do, and what they see.

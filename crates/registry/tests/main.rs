//! The client against registries that misbehave, and against a real one.

mod auth;
mod blobs;
mod documents;
mod real;
mod server;

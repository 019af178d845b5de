//! The client against registries that misbehave, and against a real one.

mod auth;
mod blobs;
mod documents;
mod push;
mod real;
mod server;

//! Cargo wants a library or a program in a package.

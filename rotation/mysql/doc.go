// Package mysql plans and runs what a rotation does to accounts of MySQL and MariaDB: a
// new password for one that exists, and another account that is made like a first one.
//
// # Passwords
//
// From 8.0.14 on MySQL keeps a second password of an account (RETAIN CURRENT PASSWORD), and
// MariaDB takes the same plugin twice (IDENTIFIED VIA p USING a OR p USING b): both
// then let two passwords in, and a rotation with one user has no window. MariaDB wants the
// right CREATE USER for that; an account without it changes its own one password, by SET
// PASSWORD. Where MariaDB's plugin is ed25519 it asks twice for the second password, which
// some drivers of others take for an error.
//
// MySQL gets passwords in clear text, which it writes as <secret> to its logs, unless
// started with log_raw, and to its performance schema. MariaDB would write them as they
// came, so it gets hashes.
//
// # Rights
//
// An account is made like another at each host of that other's, by the difference of what
// both have: what both have is not touched. What the other lacks is revoked, and an account
// at a host where the other has none is dropped: a login from there would find it in place of
// the one that it is to find, unless objects of the database name it as their definer.
//
// Invariant: nothing that [Session.Plan] sends to the server changes anything there, and no
// statement that it returns is shown with a password or a hash.
//
// It does not know secrets or labels, nor whether a password logs in.
package mysql

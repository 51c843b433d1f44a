// Package store is the secret that a rotation is about: its versions and their labels in
// Secrets Manager, and where RDS says that a master's database is.
//
// Invariant: a [Document] keeps, byte for byte, whatever of the JSON a rotation does not
// change; no error and no formatted value here shows a part of it.
//
// The package knows the calls and their errors, not the order of the steps.
package store

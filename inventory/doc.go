// Package inventory finds out what databases an AWS account has in one region, and writes
// the configuration with which credproxy serves them.
//
// Invariant: the same answers of AWS give the same text, which package config takes. Each
// database that AWS names is in it: served, or in a comment that says why it is not. What a
// call did not tell is a [Failure], and no error, as long as another told something.
//
// The package connects to no database, and changes nothing in AWS. Of a secret's value,
// which it reads only if it is told to, it uses the host.
package inventory

// Package check goes the way of a login to each database, step by step, and reports where
// it fails and what to do about it.
//
// It takes the same parts as the daemon, from package wiring, so that what holds here
// holds there. A step that needs one that failed is skipped.
//
// Invariant: it listens nowhere and changes nothing, and no report holds a password or a
// hash of one.
//
// The package prints nothing and knows no exit status.
package check

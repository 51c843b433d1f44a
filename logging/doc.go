// Package logging makes the logger of credproxy, and keeps clients from filling it.
//
// Invariant: lines about credentials and about the state of credproxy are never left out. Of
// the lines about sessions, whose number is the clients' to choose, [Sampled] and
// [Pace] leave out what is too many; the metrics count everything.
//
// The package holds no logger: whoever makes one passes it on.
package logging

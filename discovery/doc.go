// Package discovery knows the databases of AWS accounts while they come and go: it asks AWS
// again and again, and completes a configuration with what it found.
//
// Invariant: what is complete follows from the configuration and the last two whole answers
// of each account alone. A database is there if one of the two has it, so it goes when two
// answers in a row lack it; an answer that is not whole is none, and changes nothing. No two have
// one name, and which has it does not depend on what was seen first. One thing is remembered: a
// secret that is in use stays so while it is attached.
//
// The package serves nothing and opens no listener: package daemon puts the configuration to
// work, as it does with one that was read again.
package discovery

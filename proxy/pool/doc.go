// Package pool keeps server sessions for the next client that wants the same.
//
// Invariants: a session is given to one client at a time, and only if its engine has reset
// it since the last one; all sessions of a generation are closed when the next begins; there
// are never more server sessions than allowed, and who waits for one is served in turn; every
// goroutine has ended when Close returns.
//
// The package knows no wire protocol. Whether a session may be kept, and what makes it as a
// fresh one, its engine knows; and a session from a pool proves nothing about a credential.
package pool

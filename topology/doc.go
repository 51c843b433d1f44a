// Package topology knows the servers of one database, and which of them is the writer.
//
// Invariants: a server counts as what it said itself, after a login, that it is; what another
// server says of it only tells where to ask next. What a server may say is bounded, and a
// topology that lies, is empty or cannot be had costs nothing but the knowledge.
//
// One goroutine for each database watches the server in use and searches for another
// ([Servers.Run]); logins ask it where to go, and wait for it ([Servers.Login]). An epoch is
// the time in which one server has the role.
//
// The package knows no wire protocol: it logs in through an [Engine], and asks through a
// [Session].
package topology

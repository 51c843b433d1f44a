// Package client asks a running credproxy, over its admin server, what the commands
// want to know and to have done, and says the status that it answers in words.
//
// Invariant: its errors are for an operator. They name the address, and what said that it is the
// one. What the server answers can hold texts of a database; in errors they are made
// [Visible].
//
// The package reads no configuration, retries nothing but in [Client.Wait], and asks no
// proxy of the environment.
package client

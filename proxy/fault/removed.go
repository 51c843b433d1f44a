package fault

// ErrRemoved is what the clients of a database hear when it is in the configuration
// no more.
func ErrRemoved() *Error {
	return &Error{Kind: ShuttingDown, Message: "this database was taken out of the configuration of credproxy"}
}

package wire

// LastingAttributes returns connection attributes without those that name one process or
// thread of a client: the client's library sends _pid, and on Windows _thread. What cannot
// be read is returned as it is.
func LastingAttributes(b []byte) []byte {
	f, out := Fields{Rest: b}, []byte{}
	for len(f.Rest) > 0 {
		from := f.Rest
		name := string(f.counted())
		f.counted()
		if f.Err != nil {
			return b
		}
		if name != "_pid" && name != "_thread" {
			out = append(out, from[:len(from)-len(f.Rest)]...)
		}
	}
	return out
}

// Attribute returns the value of one of the connection attributes, "" if it is not there, or
// if what comes before it cannot be read.
func Attribute(b []byte, name string) string {
	for f := (Fields{Rest: b}); len(f.Rest) > 0 && f.Err == nil; {
		found, value := string(f.counted()), f.counted()
		if f.Err == nil && found == name {
			return string(value)
		}
	}
	return ""
}

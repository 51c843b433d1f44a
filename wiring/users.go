package wiring

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// FindUsers returns the names of the users of a key of the configuration by id, "" for
// those that were given by id.
func FindUsers(key string, uids []string) (map[uint32]string, error) {
	users := map[uint32]string{}
	for i, s := range uids {
		uid, name, err := findUser(s)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", key, i, err)
		}
		users[uid] = name
	}
	return users, nil
}

// findUser returns the id of the user that s names or numbers, and the name if s
// is one.
func findUser(s string) (uid uint32, name string, err error) {
	number := s
	if _, err := strconv.ParseUint(s, 10, 32); err != nil {
		u, err := user.Lookup(s)
		if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
			return 0, "", fmt.Errorf("there is no user %q here; write the number of the user's id", s)
		}
		if err != nil {
			return 0, "", fmt.Errorf("look up user %q: %w", s, err)
		}
		number, name = u.Uid, s
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, "", fmt.Errorf("the user %q has no numeric id on this system", s)
	}
	return uint32(n), name, nil
}

package wiring

import (
	"os/user"
	"strconv"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/peer"
)

func TestAccessUIDs(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(me.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	peers := new(peer.Resolver)
	t.Cleanup(peers.Close)
	for name, tc := range map[string]struct {
		uids []string
		want map[uint32]string
		err  string
	}{
		"everybody":    {nil, nil, ""},
		"by id":        {[]string{"0", "4294967294"}, map[uint32]string{0: "", 4294967294: ""}, ""},
		"by name":      {[]string{"1", me.Username}, map[uint32]string{1: "", uint32(uid): me.Username}, ""},
		"no such user": {[]string{"0", "no-such-user"}, nil, `access.uids[1]: there is no user "no-such-user" here; write the number`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := NewAccess(t.Context(), peers, &config.Database{Access: config.Access{UIDs: tc.uids}})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(got.UIDs) != len(tc.want) || got.Owner == nil {
				t.Errorf("got %v, %v", got, err)
			}
			for uid, name := range tc.want {
				if n, ok := got.UIDs[uid]; !ok || n != name {
					t.Errorf("user %d: %q, %v", uid, n, ok)
				}
			}
		})
	}
}

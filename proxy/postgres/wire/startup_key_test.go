package wire

import "testing"

func TestStartupKey(t *testing.T) {
	key := func(version uint32, pairs ...string) string {
		s := Startup{Version: version}
		for i := 0; i < len(pairs); i += 2 {
			s.Params = append(s.Params, Param{pairs[i], pairs[i+1]})
		}
		return s.Key()
	}
	const v3, v32 = 3 << 16, 3<<16 | 2
	one := key(v3, "user", "a", "database", "b", "options", "-c x=y")
	for _, same := range []string{
		key(v3, "database", "b", "user", "a", "options", "-c x=y"),
		key(v3, "options", "-c x=y", "database", "b", "user", "a"),
	} {
		if same != one {
			t.Errorf("%q is not %q", same, one)
		}
	}
	seen := map[string]bool{one: true}
	for _, other := range []string{
		key(v32, "user", "a", "database", "b", "options", "-c x=y"),
		key(v3, "user", "a", "database", "b"),
		key(v3, "user", "a", "database", "b", "options", "-c x=z"),
		key(v3, "user", "b", "database", "a", "options", "-c x=y"),
		key(v3, "user", "a", "database", "b", "options", "-c x=y", "_pq_.x", "1"),
		key(v3, "user", "a", "user", "b"),
		key(v3, "user", "b", "user", "a"),
		key(v3, "user", "a", "session_authorization", "b", "role", "c"),
		key(v3, "user", "a", "role", "c", "session_authorization", "b"),
	} {
		if seen[other] {
			t.Errorf("%q is the key of different packets", other)
		}
		seen[other] = true
	}
}

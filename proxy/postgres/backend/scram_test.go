package backend

import (
	"testing"

	"github.com/xdg-go/scram"

	"github.com/credproxy/credproxy/secrets"
)

func TestScramKeysAreDerivedOncePerCredential(t *testing.T) {
	get := func(k *ScramKeys, cred *secrets.Credential) *scram.Client {
		c, err := k.client(cred, secrets.Verified)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cred := secrets.NewCredential("app", "planted")
	var k ScramKeys
	a, b := get(&k, cred), get(&k, cred)
	if a != b {
		t.Error("two clients for one credential")
	}
	k.forget(cred)
	if get(&k, cred) == a {
		t.Error("forgotten keys are still used")
	}
	for range 100 {
		get(&k, secrets.NewCredential("app", "x"))
	}
	if len(k.clients) > maxScramClients {
		t.Errorf("%d clients held", len(k.clients))
	}
	// What SASLprep refuses is used as it is, like libpq does.
	if get(&k, secrets.NewCredential("app", "\x01\xff")) == nil {
		t.Error("no client for a password that SASLprep refuses")
	}
}

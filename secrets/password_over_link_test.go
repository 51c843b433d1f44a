package secrets

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRelease goes through the whole matrix: method, link, kind. docs/security.md has
// the same one for people.
func TestRelease(t *testing.T) {
	const planted = "planted-secret-4f2"
	// n: not encrypted, e: encrypted, v: verified; in capitals: only if the configuration
	// allows it in as many words.
	fits := map[Method]map[CredentialKind]string{
		SCRAM:          {Password: "n e v", Token: "v"},
		NativeScramble: {Password: "n e v", Token: "v"},
		SHA2Scramble:   {Password: "n e v", Token: "v"},
		Ed25519:        {Password: "n e v", Token: "v"},
		MD5:            {Password: "v", Token: "v"},
		Cleartext:      {Password: "v", Token: "v"},
		SHA2Cleartext:  {Password: "E v", Token: "v"},
		SHA2Encrypted:  {Password: "N E v", Token: "v"},
		StoredHash:     {Password: "v", Token: "v"},
	}
	if len(fits) != len(needs) || len(needs) != len(methodNames) {
		t.Fatalf("%d methods tested of %d, with %d names", len(fits), len(needs), len(methodNames))
	}
	for m, kinds := range fits {
		for kind, links := range kinds {
			cred := NewCredential("app", planted)
			if kind == Token {
				cred.Expires = time.Now().Add(time.Minute)
			}
			for link, letters := range map[Link]string{
				{Protection: NotEncrypted}: "n", {Protection: Encrypted}: "e", {Protection: Verified}: "v",
				{NotEncrypted, true}: "nN", {Encrypted, true}: "eE", {Verified, true}: "v",
			} {
				used := ""
				got, err := Release(cred, m, link, func(password string) (int, error) { used = password; return 7, nil })
				if strings.ContainsAny(links, letters) {
					if err != nil || got != 7 || used != planted {
						t.Errorf("%v, %v, %v: %d, %v", m, link, kind, got, err)
					}
					continue
				}
				refused, ok := errors.AsType[*ReleaseError](err)
				if !ok || got != 0 || used != "" || *refused != (ReleaseError{m, link, kind}) {
					t.Errorf("%v, %v, %v: released, or not refused as such: %v", m, link, kind, err)
				}
				if ok && strings.Contains(err.Error(), planted) {
					t.Errorf("the password is in %q", err)
				}
			}
		}
	}
}

// TestReleaseInDocs holds the table of docs/security.md against the matrix.
func TestReleaseInDocs(t *testing.T) {
	doc, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := releaseTable(); !strings.Contains(string(doc), table) {
		t.Errorf("docs/security.md lacks this table:\n%s", table)
	}
}

// releaseTable writes the matrix as docs/security.md has it.
func releaseTable() string {
	rows := []struct {
		name string
		m    Method
	}{
		{"SCRAM-SHA-256, with or without channel binding: a proof", SCRAM},
		{"`mysql_native_password`: a scramble", NativeScramble},
		{"`caching_sha2_password`: a scramble", SHA2Scramble},
		{"`client_ed25519`: a signature", Ed25519},
		{"`md5`: a hash that is soon guessed", MD5},
		{"`password`, `mysql_clear_password`: clear text", Cleartext},
		{"`sha256_password`, `caching_sha2_password` in full, inside TLS: clear text", SHA2Cleartext},
		{"the same two without TLS: encrypted with the key that the server names, which is clear text to it", SHA2Encrypted},
		{"a change of the password: the hash or verifier that the server keeps", StoredHash},
	}
	var b strings.Builder
	b.WriteString("| method: what the database gets | a password | a token of IAM |\n|---|---|---|\n")
	for _, r := range rows {
		b.WriteString("| " + r.name)
		for _, kind := range []CredentialKind{Password, Token} {
			words := [...]string{"any link", "TLS", "verified TLS"}
			b.WriteString(" | " + words[needs[r.m][kind]])
			if least, ok := allowed[r.m]; ok && kind == Password {
				b.WriteString("; if the configuration allows it, " + words[least])
			}
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

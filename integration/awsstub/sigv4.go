package awsstub

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	dateLayout = "20060102T150405Z"
	// maxSkew is how far a client's clock may be off
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html).
	maxSkew = 5 * time.Minute
)

// authorization is a parsed Authorization header.
type authorization struct {
	scope         scope
	signedHeaders string // lower case, sorted, with semicolons between, as it came
	signature     string
}

// scope is a credential scope: KEY/20260102/eu-west-1/sts/aws4_request.
type scope struct{ key, date, region, service string }

func parseScope(credential string) (scope, bool) {
	part := strings.Split(credential, "/")
	if len(part) != 5 || part[4] != "aws4_request" || slices.Contains(part, "") {
		return scope{}, false
	}
	return scope{key: part[0], date: part[1], region: part[2], service: part[3]}, true
}

func parseAuthorization(header string) (authorization, error) {
	var a authorization
	rest, ok := strings.CutPrefix(header, algorithm)
	if !ok {
		return a, incomplete("Unsupported AWS 'algorithm'.", header)
	}
	value := make(map[string]string)
	for field := range strings.SplitSeq(rest, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(field), "=")
		value[name] = v
	}
	var missing []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if value[name] == "" {
			missing = append(missing, fmt.Sprintf("Authorization header requires '%s' parameter.", name))
		}
	}
	if len(missing) > 0 {
		return a, incomplete(strings.Join(missing, " "), header)
	}
	a.signedHeaders, a.signature = value["SignedHeaders"], value["Signature"]
	if a.scope, ok = parseScope(value["Credential"]); !ok {
		return a, incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.", header)
	}
	return a, nil
}

// incomplete shows the header's hash only, as AWS does: the header may hold a key pasted into the wrong place.
func incomplete(what, header string) *apiError {
	sum := sha256.Sum256([]byte(header))
	return refuse("IncompleteSignatureException", "%s (Hashed with SHA-256 and encoded with Base64) Authorization=%s",
		what, base64.StdEncoding.EncodeToString(sum[:]))
}

func badSignature(format string, args ...any) *apiError {
	return refuse("InvalidSignatureException", format, args...)
}

// claimedKey is the access key id a request says it is signed with.
func claimedKey(r *http.Request) string {
	a, _ := parseAuthorization(r.Header.Get("Authorization"))
	return a.scope.key
}

// authenticate finds who signed the request, for a service of this region, or the error AWS answers.
func (s *Server) authenticate(r *http.Request, body []byte, service string) (Identity, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Identity{}, refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	a, err := parseAuthorization(header)
	if err != nil {
		return Identity{}, err
	}
	signed, err := time.Parse(dateLayout, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return Identity{}, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.", header)
	}
	id, err := s.claimant(a.scope.key, r.Header.Get("X-Amz-Security-Token"))
	if err != nil {
		return Identity{}, err
	}
	for _, check := range []error{s.checkSkew(signed), s.checkScope(a.scope, signed, service), checkSignedHeaders(r, a), checkPayload(r, body)} {
		if check != nil {
			return Identity{}, check
		}
	}
	return id, checkSignature(r, body, a, id, signed)
}

// claimant is the identity of an access key and session token, which must belong together and be alive.
func (s *Server) claimant(accessKeyID, sessionToken string) (Identity, error) {
	id, ok := s.principals.identity(accessKeyID)
	if !ok || subtle.ConstantTimeCompare([]byte(id.SessionToken), []byte(sessionToken)) == 0 {
		return Identity{}, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if id.expired(s.now()) {
		return Identity{}, expiredToken()
	}
	return id, nil
}

func (s *Server) checkSkew(signed time.Time) error {
	now := s.now().UTC()
	stamp := func(t time.Time) string { return t.Format(dateLayout) }
	switch {
	case signed.Before(now.Add(-maxSkew)):
		return badSignature("Signature expired: %s is now earlier than %s (%s - 5 min.)", stamp(signed), stamp(now.Add(-maxSkew)), stamp(now))
	case signed.After(now.Add(maxSkew)):
		return badSignature("Signature not yet current: %s is still later than %s (%s + 5 min.)", stamp(signed), stamp(now.Add(maxSkew)), stamp(now))
	}
	return nil
}

func (s *Server) checkScope(sc scope, signed time.Time, service string) error {
	switch day := signed.Format("20060102"); {
	case sc.region != s.region:
		return badSignature("Credential should be scoped to a valid region.")
	case sc.service != service:
		return badSignature("Credential should be scoped to correct service: '%s'.", service)
	case sc.date != day:
		return badSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", sc.date, day)
	}
	return nil
}

// checkSignedHeaders demands host and every x-amz- header among the signed ones
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
func checkSignedHeaders(r *http.Request, a authorization) error {
	signed := strings.Split(a.signedHeaders, ";")
	need := []string{"host"}
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			need = append(need, name)
		}
	}
	slices.Sort(need)
	for _, name := range need {
		if !slices.Contains(signed, name) {
			return badSignature("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
	}
	return nil
}

func checkPayload(r *http.Request, body []byte) error {
	if claimed := r.Header.Get("X-Amz-Content-Sha256"); claimed != "" && claimed != payloadHash(body) {
		return badSignature("The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	return nil
}

func payloadHash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// checkSignature signs what arrived, with the headers that the client says it signed, and compares.
func checkSignature(r *http.Request, body []byte, a authorization, id Identity, signed time.Time) error {
	again := &http.Request{
		Method: r.Method,
		URL:    &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
		Host:   r.Host,
		Header: make(http.Header),
	}
	for name := range strings.SplitSeq(a.signedHeaders, ";") {
		key := textproto.CanonicalMIMEHeaderKey(name)
		if values := r.Header.Values(key); len(values) > 0 {
			again.Header[key] = slices.Clone(values) // the signer writes into the slices
		}
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		}
	}
	err := v4.NewSigner().SignHTTP(r.Context(), id.credentials(), again, payloadHash(body), a.scope.service, a.scope.region, signed)
	if err != nil {
		return badSignature("The request cannot be signed: %v.", err)
	}
	want, err := parseAuthorization(again.Header.Get("Authorization"))
	if err != nil || subtle.ConstantTimeCompare([]byte(a.signature), []byte(want.signature)) == 0 {
		return badSignature("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func (id Identity) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: id.AccessKeyID, SecretAccessKey: id.SecretAccessKey, SessionToken: id.SessionToken}
}

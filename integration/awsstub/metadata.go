package awsstub

import (
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The credential endpoints' operations; AWS has no names for them.
const (
	OpContainerCredentials = "ContainerCredentials" // GET of the container endpoint, as on ECS and EKS Pod Identity
	OpIMDSToken            = "IMDSToken"            // PUT /latest/api/token
	OpIMDSRole             = "IMDSRole"             // GET of the role's name
	OpIMDSCredentials      = "IMDSCredentials"      // GET of the role's credentials
	OpIMDSIdentity         = "IMDSIdentity"         // GET of the instance identity document, from which SDKs learn the region
)

const (
	endpointLifetime = 6 * time.Hour // of what the endpoints hand out, unless the role says otherwise
	instanceID       = "i-0123456789abcdef0"

	credentialsPath   = "/latest/meta-data/iam/security-credentials/"
	identityPath      = "/latest/dynamic/instance-identity/document"
	metadataTokenPath = "/latest/api/token"
	tokenHeader       = "X-Aws-Ec2-Metadata-Token"
	tokenTTLHeader    = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTokenTTL       = 21600
)

func metadataOperations() map[string]operation {
	op := func(run func(*Server, *exchange) (any, error)) operation {
		return operation{unsigned: true, protocol: metadataProtocol{}, run: run}
	}
	return map[string]operation{
		OpContainerCredentials: op((*Server).containerCredentials),
		OpIMDSToken:            op((*Server).imdsToken),
		OpIMDSRole:             op((*Server).imdsRole),
		OpIMDSCredentials:      op((*Server).imdsCredentials),
		OpIMDSIdentity:         op((*Server).imdsIdentity),
	}
}

func (s *Server) metadataOperation(r *http.Request) string {
	path := r.URL.Path
	switch {
	case r.Method == http.MethodPut && path == metadataTokenPath:
		return OpIMDSToken
	case r.Method != http.MethodGet:
		return opUnknown
	case path == s.containerPath:
		return OpContainerCredentials
	case path == credentialsPath, path+"/" == credentialsPath:
		return OpIMDSRole
	case strings.HasPrefix(path, credentialsPath):
		return OpIMDSCredentials
	case path == identityPath:
		return OpIMDSIdentity
	}
	return opUnknown
}

type containerCredentials struct {
	RoleARN         string `json:"RoleArn"`
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
}

// containerCredentials hands out TaskRole
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
func (s *Server) containerCredentials(x *exchange) (any, error) {
	given := x.r.Header.Get("Authorization")
	if subtle.ConstantTimeCompare([]byte(given), []byte(s.containerToken)) == 0 {
		return nil, &apiError{http.StatusUnauthorized, "InvalidAuthorization", "The authorization token is missing or wrong."}
	}
	id := s.endpointCredentials(TaskRole, "task")
	return containerCredentials{TaskRole, id.AccessKeyID, id.SecretAccessKey, id.SessionToken, id.Expires.Format(time.RFC3339)}, nil
}

func (s *Server) endpointCredentials(roleARN, session string) Identity {
	role, _ := s.principals.role(roleARN) // TaskRole and InstanceRole always exist
	return s.principals.issue(role, session, endpointLifetime, s.now())
}

// metadataTokens are IMDSv2 session tokens and their ends. There are few instances of the SDK in one test.
type metadataTokens struct {
	mu   sync.Mutex
	ends map[string]time.Time
}

func newMetadataTokens() *metadataTokens { return &metadataTokens{ends: make(map[string]time.Time)} }

func (t *metadataTokens) issue(ttl time.Duration, now time.Time) string {
	token := randomText(56)
	t.mu.Lock()
	defer t.mu.Unlock()
	for old, end := range t.ends {
		if now.After(end) {
			delete(t.ends, old)
		}
	}
	t.ends[token] = now.Add(ttl)
	return token
}

func (t *metadataTokens) valid(token string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	end, ok := t.ends[token]
	return ok && now.Before(end)
}

// metadataText is a text answer that carries the token's lifetime, as the token request's answer does.
type metadataText struct{ text, ttl string }

// imdsToken starts an IMDSv2 session
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html).
func (s *Server) imdsToken(x *exchange) (any, error) {
	if x.r.Header.Get("X-Forwarded-For") != "" { // AWS refuses what came through a proxy
		return nil, &apiError{http.StatusForbidden, "Forbidden", "The request was forwarded."}
	}
	ttl := x.r.Header.Get(tokenTTLHeader)
	seconds, err := strconv.Atoi(ttl)
	if err != nil || seconds < 1 || seconds > maxTokenTTL {
		return nil, refuse("BadRequest", "The token's lifetime must be 1 to %d seconds.", maxTokenTTL)
	}
	token := s.metadataTokens.issue(time.Duration(seconds)*time.Second, s.now())
	return metadataText{text: token, ttl: ttl}, nil
}

func (s *Server) checkMetadataToken(r *http.Request) error {
	if s.metadataTokens.valid(r.Header.Get(tokenHeader), s.now()) {
		return nil
	}
	return &apiError{http.StatusUnauthorized, "Unauthorized", "The session token is missing, unknown or expired."}
}

func (s *Server) instanceRole() Role {
	role, _ := s.principals.role(InstanceRole)
	return role
}

func (s *Server) imdsRole(x *exchange) (any, error) {
	return s.instanceRole().name(), s.checkMetadataToken(x.r)
}

type instanceCredentials struct {
	Code            string
	LastUpdated     string
	Type            string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
}

func (s *Server) imdsCredentials(x *exchange) (any, error) {
	if err := s.checkMetadataToken(x.r); err != nil {
		return nil, err
	}
	if strings.TrimPrefix(x.r.URL.Path, credentialsPath) != s.instanceRole().name() {
		return nil, &apiError{http.StatusNotFound, "NotFound", "The instance has no such role."}
	}
	id := s.endpointCredentials(InstanceRole, instanceID)
	return instanceCredentials{Code: "Success", LastUpdated: s.now().UTC().Format(time.RFC3339), Type: "AWS-HMAC", AccessKeyID: id.AccessKeyID,
		SecretAccessKey: id.SecretAccessKey, Token: id.SessionToken, Expiration: id.Expires.Format(time.RFC3339)}, nil
}

func (s *Server) imdsIdentity(x *exchange) (any, error) {
	document := map[string]string{"accountId": AccountID, "instanceId": instanceID, "region": s.region}
	return document, s.checkMetadataToken(x.r)
}

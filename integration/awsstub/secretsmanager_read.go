package awsstub

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	secretsManager = "secretsmanager"
	maxBatch       = 20
	maxSecretsPage = 100
)

func secretsManagerReads() map[string]operation {
	return map[string]operation{
		"GetSecretValue":       onSecret((*Server).getSecretValue),
		"BatchGetSecretValue":  onSecret((*Server).batchGetSecretValue),
		"DescribeSecret":       onSecret((*Server).describeSecret),
		"ListSecrets":          onSecret((*Server).listSecrets),
		"ListSecretVersionIds": onSecret((*Server).listSecretVersionIDs),
	}
}

// epoch is a time as AWS JSON writes it: seconds, with milliseconds behind the point.
type epoch time.Time

func (e epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(e).UnixMilli())/1000, 'f', 3, 64), nil
}

type secretValue struct {
	ARN           string
	CreatedDate   epoch
	Name          string
	SecretBinary  []byte   `json:",omitempty"`
	SecretString  *string  `json:",omitempty"`
	VersionID     string   `json:"VersionId"`
	VersionStages []string `json:",omitempty"`
}

func (s *Server) getSecretValue(x *exchange, in *sm.GetSecretValueInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, err := s.value(text(in.SecretId), text(in.VersionId), text(in.VersionStage))
	if err != nil {
		return nil, err
	}
	x.served = value.VersionID
	return value, nil
}

// value finds what GetSecretValue answers. s.mu is held.
func (s *Server) value(id, versionID, stage string) (*secretValue, error) {
	sec, err := s.living(id)
	if err != nil {
		return nil, err
	}
	v, err := sec.pick(versionID, stage)
	if err != nil {
		return nil, err
	}
	sec.Accessed = s.now().UTC().Truncate(24 * time.Hour) // the API reports the day only
	return &secretValue{ARN: sec.ARN, CreatedDate: epoch(v.Created), Name: sec.Name, SecretBinary: v.Binary, SecretString: v.Text,
		VersionID: v.ID, VersionStages: slices.Clone(v.Stages)}, nil
}

// pick finds a version with a value by id, by label, or by both, which must agree.
func (sec *Secret) pick(versionID, stage string) (*Version, error) {
	if versionID == "" {
		if stage == "" {
			stage = Current
		}
		v := sec.Stage(stage)
		if v == nil || v.empty() {
			return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
		}
		return v, nil
	}
	v := sec.Version(versionID)
	if v == nil || v.empty() {
		return nil, noVersion(versionID)
	}
	if stage != "" && !slices.Contains(v.Stages, stage) {
		return nil, refuse("InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
	}
	return v, nil
}

type batchError struct {
	SecretID  string `json:"SecretId"`
	ErrorCode string
	Message   string
}

type batchAnswer struct {
	Errors       []batchError
	SecretValues []*secretValue
}

func (s *Server) batchGetSecretValue(x *exchange, in *sm.BatchGetSecretValueInput) (any, error) {
	switch {
	case len(in.Filters) > 0:
		return nil, refuse("InvalidParameterException", "Filters are not supported here; name the secrets in SecretIdList.")
	case len(in.SecretIdList) == 0 || len(in.SecretIdList) > maxBatch:
		return nil, refuse("InvalidParameterException", "SecretIdList must have 1 to %d members.", maxBatch)
	}
	answer := batchAnswer{Errors: []batchError{}, SecretValues: []*secretValue{}}
	for _, id := range in.SecretIdList {
		value, err := s.batchValue(x.caller, id)
		if refusal := (*apiError)(nil); errors.As(err, &refusal) {
			answer.Errors = append(answer.Errors, batchError{id, refusal.Code, refusal.Message})
			continue
		}
		answer.SecretValues = append(answer.SecretValues, value)
	}
	return answer, nil
}

// batchValue is one secret of a batch, for which the caller also needs the right to read it by itself.
func (s *Server) batchValue(caller Identity, id string) (*secretValue, error) {
	s.mu.Lock()
	arn := s.arnOf(id)
	s.mu.Unlock()
	if err := caller.allowed(secretsManager+":GetSecretValue", arn); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value(id, "", "")
}

type secretDescription struct {
	ARN                string
	Name               string
	Description        string `json:",omitempty"`
	KMSKeyID           string `json:"KmsKeyId,omitempty"`
	OwningService      string `json:",omitempty"`
	CreatedDate        epoch
	LastChangedDate    epoch                    `json:",omitzero"`
	LastAccessedDate   epoch                    `json:",omitzero"`
	DeletedDate        epoch                    `json:",omitzero"`
	RotationEnabled    *bool                    `json:",omitempty"` // missing until rotation was configured
	RotationLambdaARN  string                   `json:",omitempty"`
	RotationRules      *types.RotationRulesType `json:",omitempty"`
	LastRotatedDate    epoch                    `json:",omitzero"`
	NextRotationDate   epoch                    `json:",omitzero"`
	Tags               []types.Tag              `json:",omitempty"`
	VersionIDsToStages map[string][]string      `json:"VersionIdsToStages,omitempty"`
}

func (s *Server) describeSecret(_ *exchange, in *sm.DescribeSecretInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.find(text(in.SecretId))
	if sec == nil {
		return nil, noSecret()
	}
	return sec.describe(), nil
}

func (sec *Secret) describe() secretDescription {
	return secretDescription{
		ARN: sec.ARN, Name: sec.Name, Description: sec.Description, KMSKeyID: sec.KMSKeyID, OwningService: sec.OwningService,
		CreatedDate: epoch(sec.Created), LastChangedDate: epoch(sec.Changed), LastAccessedDate: epoch(sec.Accessed), DeletedDate: epoch(sec.Deleted),
		RotationEnabled: sec.rotationEnabled(), RotationLambdaARN: sec.RotationLambdaARN, RotationRules: sec.RotationRules,
		LastRotatedDate: epoch(sec.LastRotated), NextRotationDate: epoch(sec.NextRotation),
		Tags: slices.Clone(sec.Tags), VersionIDsToStages: sec.stages(),
	}
}

type secretList struct {
	NextToken  string `json:",omitempty"`
	SecretList []secretDescription
}

// listSecrets answers with the newest first, up to 100 a page; those to be deleted are not among them.
func (s *Server) listSecrets(_ *exchange, in *sm.ListSecretsInput) (any, error) {
	size := maxSecretsPage
	if in.MaxResults != nil {
		size = int(*in.MaxResults)
	}
	first, err := strconv.Atoi(cmp.Or(text(in.NextToken), "0"))
	switch {
	case len(in.Filters) > 0:
		return nil, refuse("InvalidParameterException", "Filters are not supported here.")
	case size < 1 || size > maxSecretsPage:
		return nil, refuse("InvalidParameterException", "MaxResults must be 1 to %d.", maxSecretsPage)
	case err != nil:
		return nil, refuse("InvalidNextTokenException", "The NextToken value is invalid.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := secretList{SecretList: []secretDescription{}}
	for _, sec := range s.secrets {
		if sec.Deleted.IsZero() {
			list.SecretList = append(list.SecretList, sec.describe())
		}
	}
	slices.SortFunc(list.SecretList, func(a, b secretDescription) int {
		return cmp.Or(time.Time(b.CreatedDate).Compare(time.Time(a.CreatedDate)), cmp.Compare(b.Name, a.Name))
	})
	first = min(first, len(list.SecretList))
	if last := first + size; last < len(list.SecretList) {
		list.NextToken, list.SecretList = strconv.Itoa(last), list.SecretList[:last]
	}
	list.SecretList = list.SecretList[first:]
	return list, nil
}

type listedVersion struct {
	CreatedDate   epoch
	VersionID     string `json:"VersionId"`
	VersionStages []string
}

type versionList struct {
	ARN, Name string
	Versions  []listedVersion
}

func (s *Server) listSecretVersionIDs(_ *exchange, in *sm.ListSecretVersionIdsInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.find(text(in.SecretId))
	if sec == nil {
		return nil, noSecret()
	}
	list := versionList{ARN: sec.ARN, Name: sec.Name, Versions: []listedVersion{}}
	deprecatedToo := in.IncludeDeprecated != nil && *in.IncludeDeprecated
	for _, v := range sec.Versions {
		if len(v.Stages) > 0 || deprecatedToo {
			list.Versions = append(list.Versions, listedVersion{epoch(v.Created), v.ID, slices.Clone(v.Stages)})
		}
	}
	return list, nil
}

// text is the string an optional member holds, "" if it is absent.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

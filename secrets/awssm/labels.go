package awssm

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/credproxy/credproxy/secrets"
)

// Describe tells which version carries which label and when AWS rotates, by
// DescribeSecret. It is one of secrets.Labelled's methods.
func (s *Source) Describe(ctx context.Context) (secrets.Labels, error) {
	var out *secretsmanager.DescribeSecretOutput
	err := s.call(ctx, "DescribeSecret", "labels", func() (err error) {
		out, err = s.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.id})
		return err
	})
	switch {
	case err != nil:
		return secrets.Labels{}, err
	case out.DeletedDate != nil: // described all the same, but not given out
		return secrets.Labels{}, secrets.Errorf(secrets.NotFound, "secret %s: it was marked for deletion; restore it, or name another secret", s.id)
	}
	labels := secrets.Labels{
		Versions:     map[secrets.Stage]string{},
		LastRotation: aws.ToTime(out.LastRotatedDate),
	}
	for id, stages := range out.VersionIdsToStages {
		for _, stage := range stages {
			labels.Versions[secrets.Stage(stage)] = id
		}
	}
	if aws.ToBool(out.RotationEnabled) && out.NextRotationDate != nil {
		labels.NextRotation = *out.NextRotationDate
		labels.Window = window(out.RotationRules)
	}
	return labels, nil
}

// window is the length of the rotation window ("RotationRulesType" in the API
// reference): what the rules say, else an hour for schedules in hours, else what
// is left of a day.
func window(rules *types.RotationRulesType) time.Duration {
	if rules == nil {
		return 24 * time.Hour
	}
	hours, isHours := strings.CutSuffix(aws.ToString(rules.Duration), "h")
	if n, err := strconv.Atoi(hours); err == nil && isHours && n >= 1 && n <= 24 {
		return time.Duration(n) * time.Hour
	}
	if strings.Contains(aws.ToString(rules.ScheduleExpression), "hour") {
		return time.Hour
	}
	return 24 * time.Hour
}

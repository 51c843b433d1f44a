package config

import (
	"regexp"
)

// What the names in a configuration may look like. None is stricter than the
// service that the name is for.
var (
	databaseName = capped{regexp.MustCompile(`^[A-Za-z0-9._-]+$`), 64}
	hostName     = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
	regionName   = regexp.MustCompile(`^[a-z]+(-[a-z]+)+-[0-9]+$`)
	envName      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	uidNumber    = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
	userName     = capped{regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`), 256}
	tableName    = capped{regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`), 64}
	secretName   = capped{regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`), 512}
	secretARN    = capped{regexp.MustCompile(`^arn:aws[a-z-]*:secretsmanager:([a-z]+(?:-[a-z]+)+-[0-9]+):[0-9]{12}:secret:([A-Za-z0-9/_+=.@!-]+)$`), 519}
	roleARN      = capped{regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([A-Za-z0-9/_+=,.@-]+)$`), 576}
	externalID   = capped{regexp.MustCompile(`^[A-Za-z0-9_+=,.@:/-]{2,}$`), 1224}
	sessionName  = capped{regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,}$`), 64}
	rdsHost      = regexp.MustCompile(`\.([a-z]+(?:-[a-z]+)+-[0-9]+)\.rds\.[a-z0-9.-]+$`)
	dsqlHost     = regexp.MustCompile(`^[a-z0-9]+\.dsql(?:-[a-z0-9]+)?\.([a-z]+(?:-[a-z]+)+-[0-9]+)\.on\.aws$`)
	rdsHostChina = regexp.MustCompile(`\.rds\.(cn(?:-[a-z]+)+-[0-9]+)\.amazonaws\.com\.cn$`)
)

// capped is a pattern whose last group, or all of it if it has none, has at most max
// bytes. As a count in the pattern a large cap would take its time and memory at each
// start: as many copies are compiled.
type capped struct {
	pattern *regexp.Regexp
	max     int
}

func (c capped) MatchString(s string) bool { return c.FindStringSubmatch(s) != nil }

func (c capped) FindStringSubmatch(s string) []string {
	m := c.pattern.FindStringSubmatch(s)
	if m == nil || len(m[len(m)-1]) > c.max {
		return nil
	}
	return m
}

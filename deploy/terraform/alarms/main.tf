# credproxy, once for each service and environment: CloudWatch alarms and a dashboard for each database, on the
# metrics that credproxy writes with metrics.emf, metrics.service and metrics.environment.
# Alarms have the names of the alerts that docs/runbook.md explains.

variable "service" {
  description = "As metrics.service."
  type        = string
}

variable "environment" {
  description = "As metrics.environment."
  type        = string
}

variable "databases" {
  description = "Names of the databases, as in the configuration. That of a secret on the command line is the secret's, with - for /."
  type        = list(string)
}

variable "alert_topic_arns" {
  description = "Output of account, in a list, whose length is known even when account is made in the same run. Empty: nobody is told."
  type        = list(string)
  default     = []
}

data "aws_region" "this" {}

locals {
  above = "GreaterThanThreshold"
  below = "LessThanThreshold"

  alarms = {
    CredproxyCredentialOld     = { metric = "credential_age_seconds", result = "", statistic = "Maximum", compare = local.above, threshold = 10800, period = 60, periods = 10 }
    CredproxyStaleLogins       = { metric = "stale_logins_total", result = "", statistic = "Sum", compare = local.above, threshold = 0, period = 60, periods = 5 }
    CredproxySourceBreakerOpen = { metric = "source_breaker_open", result = "", statistic = "Maximum", compare = local.above, threshold = 0, period = 60, periods = 5 }
    CredproxyBreakGlassActive  = { metric = "break_glass_active", result = "", statistic = "Maximum", compare = local.above, threshold = 0, period = 60, periods = 1 }
    CredproxyLoginsRejected    = { metric = "connections_total", result = "credential_rejected", statistic = "Sum", compare = local.above, threshold = 0, period = 60, periods = 1 }
    CredproxyRotationHangs     = { metric = "probe_total", result = "other_version", statistic = "Sum", compare = local.above, threshold = 0, period = 600, periods = 2 }
    CredproxyUpstreamDown      = { metric = "upstream_up", result = "", statistic = "Minimum", compare = local.below, threshold = 1, period = 60, periods = 2 }
    CredproxyDatabaseNotReady  = { metric = "database_ready", result = "", statistic = "Minimum", compare = local.below, threshold = 1, period = 60, periods = 5 }
    CredproxySaturated         = { metric = "connections_total", result = "too_many", statistic = "Sum", compare = local.above, threshold = 0, period = 60, periods = 1 }
  }
  all = merge([for database in var.databases : { for name, alarm in local.alarms : "${database} ${name}" => merge(alarm, { database = database, name = name }) }]...)
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each          = local.all
  alarm_name        = "${var.service} ${var.environment} ${each.key}"
  alarm_description = "See docs/runbook.md, \"${each.value.name}\"."
  namespace         = "credproxy"
  metric_name       = each.value.metric
  dimensions = merge(
    { service = var.service, environment = var.environment, database = each.value.database },
    each.value.result == "" ? {} : { result = each.value.result },
  )
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.compare
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alert_topic_arns
  ok_actions          = var.alert_topic_arns
}

resource "aws_cloudwatch_dashboard" "this" {
  for_each       = toset(var.databases)
  dashboard_name = "${var.service}-${var.environment}-${replace(each.value, ".", "-")}"
  dashboard_body = templatefile("${path.module}/dashboard.json", {
    region = data.aws_region.this.region, service = var.service, environment = var.environment, database = each.value
  })
}

"""Customer.io's Node SDK, unmodified: each of its methods, through the daemon and straight."""

from base64 import b64encode
from typing import Any

from tests.sdk.nodejs import Node
from tests.sdk.roads import APP_KEY, Roads
from tests.sdk.story import call_app, step, tell, unknown
from tests.sdk.words import ACME, FIELDS, LONG_AGO, MEMBER
from tests.support.process import SITE_ID, TRACK_KEY

EXPORTED = {
    "APIClient", "CustomerIORequestError", "DeliveryExportMetric", "FilterOperator", "IdentifierType",
    "MissingParamError", "PipelinesClient", "Region", "RegionEU", "RegionUS", "SendEmailRequest", "SendInAppRequest",
    "SendInboxMessageRequest", "SendPushRequest", "SendSMSRequest", "SendWhatsAppRequest", "TrackClient",
    "verifyRequestSignature",
}  # fmt: skip
"""Not ours: PipelinesClient talks to another host, verifyRequestSignature to none."""

STORY = [
    step("getAccountRegion"),
    step("identify", 5, {"email": "five@example.com", "plan": "free", "nested": {"list": [1, {"deep": None}]}}),
    step("identify", "six@example.com", {"first_name": "Sechs", "text": "ü€🙂"}),
    step("identify", "cio_000000000001", {"plan": "pro"}),
    step("identify", "a/b c+d%25é?#", {"odd": True, "unsubscribed": "1"}),
    step("identify", "without-attributes"),
    step("identify", 5, {"cio_relationships": {"action": "add_relationships", "relationships": [MEMBER]}}),
    step("track", 5, {"name": "purchased", "data": {"price": 23.45}, "id": "given-1", "timestamp": LONG_AGO}),
    step("track", 5, {"name": "purchased once more", "id": "given-1"}),
    step("track", "five@example.com", {"name": "bare"}),
    step("track", "a/b c+d%25é?#", {"name": "with more", "data": {}, "colour": "blue"}),
    step("track", 5, {"name": "home", "type": "screen"}),
    step("trackAnonymous", "visitor/1", {"name": "looked", "data": {"page": 1}, "id": "given-2"}),
    step("trackAnonymous", "visitor/2", {"name": "looked too"}),
    step("trackAnonymous", "", {"name": "invited", "data": {"recipient": "seven@example.com"}}),
    step("identify", 5, {"anonymous_id": "visitor/2"}),
    step("trackPageView", 5, "https://example.com/shop?a=1&b=ü"),
    step("trackPush", {"delivery_id": "message-1", "device_id": "token/1", "event": "opened", "timestamp": LONG_AGO}),
    step("addDevice", 5, "token/1", "ios", {"last_used": LONG_AGO}),
    step("addDevice", 5, "token 2", "android", {"last_used": LONG_AGO, "app_version": "1.2"}),
    step("addDevice", "device-only", "token-3", "android"),
    step("deleteDevice", 5, "token/1"),
    step("mergeCustomers", "id", 5, "email", "six@example.com"),
    step("mergeCustomers", "id", 5, "id", "without-attributes"),
    step("identify", 7, {"name": "Seven"}),
    step("suppress", 7),
    step("identify", 7, {"name": "in vain"}),
    step("unsuppress", 7),
    step("identify", 7, {"name": "back"}),
    step("destroy", 7),
    step("addCustomersToSegment", 7, ["5", "a/b c+d%25é?#"]),
    step("addCustomersToSegment", 8, ["five@example.com"], "email"),
    step("addCustomersToSegment", 9, [5]),  # numbers: Customer.io ignores them
    step("removeCustomersFromSegment", 7, ["5"]),
    step("submitForm", "form 1/2", {"email": "nine@example.com", "newsletter": "yes"}),
    step("reportMetric", {"delivery_id": "message-1", "metric": "clicked", "href": "https://example.com/"}),
    step("unsubscribe", "message-1"),
    step("unsubscribe", "message/2", False),
    step("entity", {"type": "person", "action": "screen", "identifiers": {"id": "8"}, "name": "start"}),
    step("entity", {"type": "object", "action": "identify", "identifiers": ACME, "attributes": {"name": "Acme"}}),
    step("batch", [
        {"type": "person", "action": "identify", "identifiers": {"id": "8"}, "attributes": {"plan": "batch"}},
        {"type": "person", "action": "event", "identifiers": {"id": "8"}, "name": "came", "id": "given-3"},
        {"type": "object", "action": "add_relationships", "identifiers": ACME,
         "cio_relationships": [{"identifiers": {"id": "8"}}]},
        {"type": "delivery", "action": "event", "identifiers": {"id": "message-4"}, "name": "opened",
         "attributes": {"device_token": "token 2"}},
    ]),
]  # fmt: skip

OPTIONS = {
    "start": "MDQ6/+=", "limit": 10, "page": 2, "sort": "asc", "period": "days", "steps": 3, "unique": True,
    "metric": "sent", "type": "email", "name": "a b&ü", "version": 2, "res": "daily", "tz": "Europe/Rome",
    "end": LONG_AGO, "start_ts": LONG_AGO, "end_ts": LONG_AGO, "drafts": False, "get_tracked_responses": True,
    "deleted": False, "customerId": "a/b", "language": "de", "hidden": True, "archived_message": True,
    "associations": True, "campaign_id": 1, "parentFolderId": 1, "directDescendantsOnly": True, "tag": "x-a",
    "sortBy": "name", "email": "five+ü@example.com", "domain": "example.com",
}  # fmt: skip
"""Every option of every method: each takes those that it knows."""

FILTER = {"and": [{"segment": {"id": 3}}, {"attribute": {"field": "plan", "operator": "eq", "value": "ü"}}]}
PNG = {"$bytes": b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 400).decode()}
CONTENT = {"body": "<p>Hello ü</p>", "subject": "Hello"}

ALIKE: list[tuple[tuple[Any, ...], str]] = [
    ((), """
        listExports listObjectTypes listSegments listSubscriptionTopics listSubscriptionChannels
        listTransactionalMessages listCampaigns listBroadcasts listCollections listReportingWebhooks getSnippets
        listWorkspaces getIpAddresses
    """),
    ((OPTIONS,), """
        listActivities listNewsletters listDesignStudioFolders listDesignStudioEmails listDesignStudioComponents
        listAssets listAssetFolders getSenderIdentities getMessages
    """),
    ((1,), """
        getExport downloadExport getSegment deleteSegment getSegmentCustomerCount getSegmentUsedBy
        getTransactionalMessage getTransactionalMessageContents getCampaign getBroadcast getBroadcastActions
        getBroadcastTriggers getNewsletter deleteNewsletter getNewsletterContents getNewsletterTestGroups
        createNewsletterTestGroup getDesignStudioFolder deleteDesignStudioFolder getDesignStudioEmail
        deleteDesignStudioEmail listDesignStudioEmailLanguages getDesignStudioComponent deleteDesignStudioComponent
        getAsset deleteAsset getAssetFolder deleteAssetFolder getCollection deleteCollection getCollectionContent
        getReportingWebhook deleteReportingWebhook getSenderIdentity getSenderIdentityUsedBy getArchivedMessage
        getImport
    """),
    ((1, OPTIONS), """
        getSegmentMembership getTransactionalMessageDeliveries getTransactionalMessageMetrics
        getTransactionalMessageLinkMetrics getCampaignActions getCampaignMetrics getCampaignMetricsLinks
        getCampaignJourneyMetrics getCampaignMessages getBroadcastMetrics getBroadcastMetricsLinks
        getBroadcastMessages getNewsletterMetrics getNewsletterMetricsLinks getNewsletterMessages
        getCustomerRelationships getMessage
    """),
    ((1, CONTENT), """
        sendNewsletter scheduleNewsletter createNewsletterLanguage updateDesignStudioFolder updateDesignStudioEmail
        updateDesignStudioComponent updateAsset updateAssetFolder updateCollection updateReportingWebhook
    """),
    ((1, 2), "getCampaignAction getBroadcastTriggerStatus getBroadcastAction getNewsletterContent"),
    ((1, 2, OPTIONS), """
        getCampaignActionMetrics getCampaignActionMetricsLinks getBroadcastTriggerErrors getBroadcastActionMetrics
        getBroadcastActionMetricsLinks getNewsletterContentMetrics getNewsletterContentMetricsLinks
    """),
    ((1, 2, CONTENT), """
        updateTransactionalMessageContent updateCampaignAction updateBroadcastAction updateNewsletterContent
        createNewsletterTestGroupLanguage
    """),
    ((1, "de-AT"), """
        getTransactionalMessageLanguage getNewsletterLanguage deleteNewsletterLanguage getDesignStudioEmailLanguage
        deleteDesignStudioEmailLanguage
    """),
    ((1, "de-AT", CONTENT), """
        updateTransactionalMessageLanguage updateNewsletterLanguage updateDesignStudioEmailLanguage
    """),
    ((1, 2, "de-AT"), """
        getCampaignActionLanguage getBroadcastActionLanguage getNewsletterTestGroupLanguage
        deleteNewsletterTestGroupLanguage
    """),
    ((1, 2, "de-AT", CONTENT), """
        updateCampaignActionLanguage updateBroadcastActionLanguage updateNewsletterTestGroupLanguage
    """),
    (({"name": "Ü", "tag": "x-a", "endpoint": "https://example.com/", "value": "{{ now }}"},), """
        createSegment createDesignStudioFolder createDesignStudioEmail createDesignStudioComponent createAssetFolder
        createCollection createReportingWebhook createSnippet updateSnippet createNewsletter
    """),
    (("bounces", "five+ü@example.com"), "createSuppression deleteSuppression"),
]  # fmt: skip
"""Methods by what they are given."""


def request(kind: str, **more: Any) -> dict[str, Any]:
    """A request to send, with all that any of them may have: each takes those fields that it knows."""
    given = {name.removeprefix("_"): value for name, value in FIELDS.items() if name not in {"attachments", "cc"}}
    return {"$new": kind, "with": given, **more}


APP_CALLS = [
    *(step(name, *given) for given, names in ALIKE for name in names.split()),
    step("sendEmail", request("SendEmailRequest")),
    step("sendEmail", request("SendEmailRequest", attach=[["a.txt", "hello"], ["ü.txt", "ü" * 1000]])),
    step("sendPush", request("SendPushRequest")),
    step("sendSMS", request("SendSMSRequest")),
    step("sendWhatsApp", request("SendWhatsAppRequest")),
    step("sendInboxMessage", request("SendInboxMessageRequest")),
    step("sendInApp", request("SendInAppRequest")),
    step("triggerBroadcast", 1),
    step("triggerBroadcast", 1, {"headline": "ü"}, {"segment": {"id": 3}}),
    step("triggerBroadcast", 1, {}, {"ids": ["5"], "id_ignore_missing": True}),
    step("getCustomersByEmail", "five+ü@example.com"),
    step("createCustomersExport", FILTER),
    step("createDeliveriesExport", 1, {"start": LONG_AGO, "metric": "sent"}),
    step("getAttributes", "a/b c+d%25é?#"),
    step("getAttributes", "five@example.com", "email"),
    step("getCustomerActivities", "a/b", OPTIONS | {"idType": "id"}),
    step("getCustomerMessages", "a/b", OPTIONS | {"idType": "id"}),
    step("getCustomerSegments", "a/b", "id"),
    step("getCustomerSubscriptionPreferences", "a/b", OPTIONS | {"idType": "id"}),
    step("searchCustomers", FILTER, OPTIONS),
    step("getCustomersAttributes", ["5", "6"]),
    step("getObjectAttributes", 1, "acme/ü", "object_id"),
    step("getObjectRelationships", 1, "acme", OPTIONS | {"idType": "object_id"}),
    step("findObjects", 1, FILTER, OPTIONS),
    step("getSubscriptionCenterToken", "a/b"),
    step("createDesignStudioEmailLanguage", 1, {"language": "de", **CONTENT}),
    step("createAsset", {"data": PNG, "filename": 'a "ü".png', "name": "Logo", "parentFolderId": 3}),
    step("createAsset", {"data": "plain text", "filename": "a.bin"}),
    step("updateCollectionContent", 1, [{"name": "a"}, {"name": "ü"}]),
    step("searchSuppression", "five+ü@example.com"),
    step("getSuppressions", "bounces", OPTIONS),
    step("getDomainSuppressions", "example.com", "bounces", OPTIONS),
    step("deleteSnippet", "a b/c"),
    step("createImport", {"data_file_url": "https://example.com/a.csv", "type": "people"}),
    step("batchUpdateAttributes", [{"name": "plan", "description": "ü"}]),
    step("batchUpdateEvents", [{"name": "purchased", "description": "ü"}]),
]

NO_CALLS = {"resourceBase"}


async def test_no_method_is_forgotten(node: Node) -> None:
    assert await node.exports() == EXPORTED
    assert not unknown(await node.names("TrackClient"), STORY, set())
    assert not unknown(await node.names("APIClient"), APP_CALLS, NO_CALLS)


async def test_track_calls_come_to_the_same_as_without_the_daemon(node: Node, roads: Roads) -> None:
    through, straight = [
        await node.client("TrackClient", SITE_ID, TRACK_KEY, {"url": f"{url}/api/v1"})
        for url in (roads.url, roads.straight_url)
    ]
    await tell(STORY, roads, by_us=through, straight=straight)


async def test_app_calls_arrive_as_they_were_sent(node: Node, roads: Roads) -> None:
    through, straight = [
        await node.client("APIClient", APP_KEY, {"url": f"{url}/v1"}) for url in (roads.url, roads.straight_url)
    ]
    await call_app(APP_CALLS, roads, by_us=through, straight=straight)

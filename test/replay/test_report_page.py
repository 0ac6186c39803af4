"""The page in a headless Chromium: it loads alone, its tables sort, its links lead somewhere."""

from collections import Counter
from urllib.parse import urlparse

import pytest
from browser import CHROMIUM, Browser
from reports import report, two_policies

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason='needs a browser: apt-get install chromium'
)

FAILED = ({'bag': '/bags/cut', 'policy': 'good', 'error': 'a <b>cut</b> file'},)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return report(tmp_path_factory.mktemp('report'), two_policies(), failed=FAILED)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp('profile')) as opened:
        yield opened


@pytest.fixture
def page(browser, written):
    browser.open(written.page.as_uri())
    return browser


def column(page, table, number):
    """Texts of a column, in the order of the document."""
    return page.evaluate(
        f"""Array.from(document.querySelectorAll('{table} tbody tr'),
                       row => row.cells[{number}].firstChild.textContent.trim())"""
    )


def numbers(page, table, number):
    """What a column is sorted by, in the order of the document."""
    return page.evaluate(
        f"""Array.from(document.querySelectorAll('{table} tbody tr'),
                       row => row.cells[{number}].dataset.v)
                 .map(value => value === undefined ? null : Number(value))"""
    )


def test_page_loads_without_a_message_on_the_console(page):
    assert page.evaluate('document.title') == 'pizero replay: test_robot'
    for each in page.happened('Runtime.exceptionThrown', 'Runtime.consoleAPICalled'):
        pytest.fail(str(each))
    assert [each['entry']['text'] for each in page.happened('Log.entryAdded')] == []


def test_page_requests_nothing_but_itself(page, written):
    requested = {each['request']['url'] for each in page.happened('Network.requestWillBeSent')}
    assert written.page.as_uri() in requested
    assert {urlparse(url).scheme for url in requested - {written.page.as_uri()}} <= {'data'}


def test_driver_notices_a_request_and_a_console_error(browser, tmp_path):
    spoiled = tmp_path / 'spoiled.html'
    spoiled.write_text('<img src="missing.png"><script>undefined.x</script>')
    browser.open(spoiled.as_uri())
    requested = [each['request']['url'] for each in browser.happened('Network.requestWillBeSent')]
    assert (tmp_path / 'missing.png').as_uri() in requested
    assert browser.happened('Runtime.exceptionThrown')


def test_links_lead_to_places_and_files_that_exist(page, written):
    links = page.evaluate("Array.from(document.links, link => link.getAttribute('href'))")
    inner = {link[1:] for link in links if link.startswith('#')}
    files = {link for link in links if not link.startswith('#')}
    assert {'reading', 'episodes', 'episode-1', 'episode-4-moment-6'} <= inner
    missing = [name for name in inner if not page.evaluate(f"!!document.getElementById('{name}')")]
    assert missing == []
    assert len(files) == 12
    assert [name for name in files if not (written.page.parent / name).is_file()] == []


def test_places_have_different_names(page):
    names = page.evaluate("Array.from(document.querySelectorAll('[id]'), each => each.id)")
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_first_click_on_an_error_brings_the_largest_to_the_top(page):
    heading = '#episodes thead tr:last-child th:nth-child(4)'
    before = numbers(page, '#episodes', 3)
    assert before not in (sorted(before), sorted(before, reverse=True))
    page.click(f'{heading} button')
    assert numbers(page, '#episodes', 3) == sorted(before, reverse=True)
    assert page.evaluate(f"document.querySelector('{heading}').ariaSort") == 'descending'
    page.click(f'{heading} button')
    assert numbers(page, '#episodes', 3) == sorted(before)
    assert page.evaluate(f"document.querySelector('{heading}').ariaSort") == 'ascending'


def test_rows_keep_their_entries_together_when_sorted(page):
    def rows():
        return page.evaluate(
            "Array.from(document.querySelectorAll('#episodes tbody tr'), row => row.textContent)"
        )

    before = rows()
    page.click('#episodes thead tr:last-child th:nth-child(4) button')
    assert rows() != before
    assert sorted(rows()) == sorted(before)


def test_text_sorts_by_alphabet_with_the_enter_key(page):
    heading = '#overview thead tr:last-child th:first-child'
    page.evaluate(f"document.querySelector('{heading} button').focus()")
    page.press_enter()
    names = column(page, '#overview', 0)
    assert names == sorted(names)
    assert page.evaluate(f"document.querySelector('{heading}').ariaSort") == 'ascending'


def test_entries_without_a_value_stay_at_the_end(page):
    titles = page.evaluate(
        """Array.from(document.querySelectorAll('#overview thead tr:last-child th'),
                      th => th.textContent)"""
    )
    number = titles.index('seam p95')
    button = f'#overview thead tr:last-child th:nth-child({number + 1}) button'
    values = numbers(page, '#overview', number)
    gaps = values.count(None)
    assert gaps == 1
    for _ in range(2):
        page.click(button)
        sorted_values = numbers(page, '#overview', number)
        assert sorted_values[-gaps:] == [None] * gaps
        assert None not in sorted_values[:-gaps]


def test_only_the_sorted_heading_says_so(page):
    page.click('#episodes thead tr:last-child th:nth-child(4) button')
    page.click('#episodes thead tr:last-child th:nth-child(1) button')
    assert page.evaluate("document.querySelectorAll('#episodes [aria-sort]').length") == 1


def test_row_leads_to_its_episode(page):
    page.click('#episodes tbody tr:nth-child(3) td:first-child a')
    assert page.evaluate('location.hash') == '#episode-3'
    heading = page.evaluate("document.querySelector('#episode-3 .head').textContent")
    assert heading.split() == ['episode_1', 'good', 'all', 'episodes']


def test_failed_recordings_are_listed_as_text(page):
    assert 'a <b>cut</b> file' in page.evaluate("document.querySelector('.findings').innerText")


def test_page_is_not_broader_than_a_narrow_window(page):
    page.call(
        'Emulation.setDeviceMetricsOverride',
        width=420,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    try:
        assert page.evaluate('document.documentElement.scrollWidth') <= 420
    finally:
        page.call('Emulation.clearDeviceMetricsOverride')
